"""Training the small teachers' own heads on a frozen backbone: ``seg`` on masks, ``det`` on boxes.

    python -m ptp_model.training.heads seg --data FOLDER --output seg.safetensors

The backbone never changes, so its features are computed once for a pool of augmented crops, and the head trains on
those.
"""

"""From the float network and latents of real photos to whole numbers."""

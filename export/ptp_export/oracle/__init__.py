"""The model itself, run in torch on real photos: what calibration measures on and verification compares with."""

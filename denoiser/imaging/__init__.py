"""One image file to pages of float32, and back."""

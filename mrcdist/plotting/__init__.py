"""Drawing of images, the same in every figure."""

//! Boots the image in QEMU and judges it from outside, as its user would.

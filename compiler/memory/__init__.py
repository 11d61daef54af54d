"""How much GPU memory one fine-tuning run needs: closed form, trace and allocator replay."""

"""Warns when PyTorch's CUDA build was installed on a machine without a GPU: 3 GB wasted."""

import torch

if torch.version.cuda and not torch.cuda.is_available():
    print(
        "Note: this is PyTorch's CUDA build, and no GPU was found. It works. The CPU build is much"
        " smaller: make clean, point PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS at PyTorch's CPU wheels"
        " (see pytorch.org, Get Started), and run make again."
    )

"""A pretrained network -> a changed network, weights kept."""

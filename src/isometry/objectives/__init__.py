"""Tensors -> a scalar loss; no models, no tokenizers, no devices."""

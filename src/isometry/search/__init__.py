"""Vectors and text -> neighbours."""

"""Tests of rescalehtc.files."""

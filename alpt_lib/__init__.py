"""Companion to 'Active Learning Helps Pretrained Models Learn the Intended Task': the loop, the models, the evidence."""

__version__ = "0.1.0"

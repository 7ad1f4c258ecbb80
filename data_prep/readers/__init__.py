"""Readers of what data come in: folders of images, tables, Hugging Face, scene graphs, CUB."""

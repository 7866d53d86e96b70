"""Where machines' systems come from: providers, cache, and the contract of the run script."""

from orchestrator.images.cache import Entry, ImageCache, Pruned
from orchestrator.images.contract import BuiltImage, find_run_script
from orchestrator.images.provider import Provider, choose_provider, ensure_images

__all__ = [
    "BuiltImage",
    "Entry",
    "ImageCache",
    "Provider",
    "Pruned",
    "choose_provider",
    "ensure_images",
    "find_run_script",
]

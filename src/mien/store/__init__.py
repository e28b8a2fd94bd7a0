"""Where files live and how they are written: the cache folder, atomic writes, bounded archives."""

from mien.store.atomic import atomic_directory, atomic_file, scratch_directory, write_text
from mien.store.cache import cache_dir

__all__ = ["atomic_directory", "atomic_file", "cache_dir", "scratch_directory", "write_text"]

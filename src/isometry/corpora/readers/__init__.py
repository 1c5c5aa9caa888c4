"""What people have -> documents: folders, pages, tables and Python packages."""

from isometry.corpora.readers.source import ReadingReport, Skipped, Source, open_source

__all__ = ["ReadingReport", "Skipped", "Source", "open_source"]

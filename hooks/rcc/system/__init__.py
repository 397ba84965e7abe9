"""Effects: one narrow module per facility of the kernel, the engine or the file system."""

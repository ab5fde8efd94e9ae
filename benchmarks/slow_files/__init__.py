"""A file system that answers late, as one of a busy cluster does."""

"""What mergerexp gets out of a GPU: ratios against bare loops and peers in the same run."""

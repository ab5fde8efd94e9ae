"""Getting a sample from the archives: a polite client, tables by SQL, and cutouts of images."""

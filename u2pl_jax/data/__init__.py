"""Host-side data: prepared datasets in, batches of uint8 arrays out."""

"""Uses of parts of Ray that are not public, one file each: what breaks if it goes, and the fallback."""

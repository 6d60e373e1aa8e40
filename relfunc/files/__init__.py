"""Files: netCDF-4 that is whole or absent, and the formats of others."""

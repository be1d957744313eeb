"""Bridges to what a site has beside the ORM: each stands alone and is imported only where it is used."""

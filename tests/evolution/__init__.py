"""An app whose migrations each test writes itself."""

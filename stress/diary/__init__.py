"""The app whose rows carry their owner's stamp."""

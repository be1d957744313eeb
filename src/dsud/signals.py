"""What the outside may listen to."""

from django.dispatch import Signal

#: A user database was made and published; sent with ``user_key``.
user_database_provisioned = Signal()

#: A user database was taken out of service and put in the trash; sent with ``user_key``.
user_database_deleted = Signal()

#: An actor opened another user's data; sent with ``actor``, ``user`` and ``request``.
user_switched = Signal()

#: The actor's look at another user's data ended; sent with ``actor``, ``user``, ``request``, ``reason``.
user_switch_ended = Signal()

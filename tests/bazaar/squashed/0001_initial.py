from importlib import import_module

Migration = import_module("tests.bazaar.migrations.0001_initial").Migration

"""The object store, as far as every service that uses it does the same: address, client, faults.

Nothing is exported here: settings need the address alone, without the SDK.
"""

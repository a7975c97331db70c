"""A provider that does what real ones did to people, on a clock that tests move, and peers that can be cut off.

line.py       between one deployer and the world: dies, stalls or is cut at any point
faults.py     what can go wrong at the provider, as tables
cloud.py      the provider's truth: machines, requests, what is late
provider.py   the face of the cloud that a deployer speaks to
peers.py      metrics service and dataset gateway, and the pods that report to them
"""

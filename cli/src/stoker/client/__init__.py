"""The Python client of Stoker.

from stoker.client import Client

client = Client()
version = client.upload_dataset("train.jsonl")
plan = client.plan(version, model="./my-model", budget_usd="1.00")
job = client.launch(plan)
for news in client.follow(job.job_id):
    print(news)
"""

from stoker.client.client import Client
from stoker.client.http import RetryPolicy
from stoker.client.news import JobChanged, JobNews, LogWritten, MetricsReported, Progress

__all__ = ["Client", "JobChanged", "JobNews", "LogWritten", "MetricsReported", "Progress", "RetryPolicy"]

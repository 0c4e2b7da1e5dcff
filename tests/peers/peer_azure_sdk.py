# SPDX-License-Identifier: Apache-2.0
"""Lists a container with azure-storage-blob: by the connection string that the environment names,
else with what azure-identity finds."""

import os

from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

how = {"retry_total": 0, "connection_verify": os.environ["REQUESTS_CA_BUNDLE"]}
text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
if text:
    service = BlobServiceClient.from_connection_string(text, **how)
else:
    service = BlobServiceClient(
        os.environ["AZURE_STORAGE_ENDPOINT"],
        credential=DefaultAzureCredential(disable_instance_discovery=True, retry_total=0),
        **how,
    )
next(iter(service.get_container_client("container").list_blobs()), None)

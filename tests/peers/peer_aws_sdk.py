# SPDX-License-Identifier: Apache-2.0
"""Lists a bucket with boto3, in the environment that it is given."""

import boto3

boto3.client("s3").list_objects_v2(Bucket="bucket", MaxKeys=1)

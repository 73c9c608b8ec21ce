# Shared state and sources of earlier builds; all of it can be made again.

resource "aws_s3_bucket" "cache" {
  # checkov:skip=CKV_AWS_18: a cache; who reads it is the build machine alone
  # checkov:skip=CKV_AWS_21: a cache; nothing is worth a second version
  # checkov:skip=CKV_AWS_144: the same
  # checkov:skip=CKV_AWS_145: encrypted with S3's own key; it holds no secret
  # checkov:skip=CKV2_AWS_62: nobody waits for a change of a cache
  bucket = "edge-ai-build-cache-${local.account}-${var.region}"
}

resource "aws_s3_bucket_public_access_block" "cache" {
  bucket                  = aws_s3_bucket.cache.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "cache" {
  bucket = aws_s3_bucket.cache.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "cache" {
  bucket = aws_s3_bucket.cache.id
  policy = templatefile("${path.module}/policies/cache.json.tftpl", { cache = aws_s3_bucket.cache.arn })
}

resource "aws_s3_bucket_lifecycle_configuration" "cache" {
  bucket = aws_s3_bucket.cache.id
  rule {
    id     = "old"
    status = "Enabled"
    filter {}
    expiration {
      days = var.cache_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

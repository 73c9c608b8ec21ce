# Shared state and sources of earlier builds; everything in it can be built again.

resource "aws_s3_bucket" "cache" {
  # checkov:skip=CKV_AWS_18: a cache that only the build machine reads
  # checkov:skip=CKV_AWS_21: a cache; old versions are of no use
  # checkov:skip=CKV_AWS_144: the same
  # checkov:skip=CKV_AWS_145: encrypted with S3's own key; it contains no secret
  # checkov:skip=CKV2_AWS_62: nothing depends on changes of a cache
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

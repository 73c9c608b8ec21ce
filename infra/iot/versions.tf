terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.9"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.4"
    }
  }
  # The state holds no secret. For a team, keep it in S3: see backend.tf.example.
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = "edge-ai" }
  }
}

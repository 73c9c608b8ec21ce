# The repository that devices trust, and their right to pull without a stored secret.

resource "aws_ecr_repository" "apps" {
  # checkov:skip=CKV_AWS_51: immutable but for signature tags, to which a second signer appends
  # checkov:skip=CKV_AWS_136: images are not secret; whoever may pull them may read them
  name                 = "edge-ai"
  image_tag_mutability = "IMMUTABLE_WITH_EXCLUSION"
  image_tag_mutability_exclusion_filter {
    filter      = "sha256-*.sig"
    filter_type = "WILDCARD"
  }
  image_scanning_configuration {
    scan_on_push = true
  }
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecr_lifecycle_policy" "apps" {
  repository = aws_ecr_repository.apps.name
  policy = jsonencode({
    rules = [
      {
        # A later rule does not apply to images that an earlier one selects, so signatures
        # (sha256-HEX.sig) and run specifications (sha256-HEX.run) are never expired.
        rulePriority = 1
        description  = "signatures and run specifications stay"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["sha256-*"]
          countType      = "imageCountMoreThan"
          countNumber    = 100000
        }
        action = { type = "expire" }
      },
      {
        # Several patterns in one rule would select images that match all of them.
        rulePriority = 2
        description  = "release sets stay"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["set.*"]
          countType      = "imageCountMoreThan"
          countNumber    = 100000
        }
        action = { type = "expire" }
      },
      {
        # edge-app rollout adds such a tag to each image of a set, and removes it once no
        # device needs the set.
        rulePriority = 3
        description  = "images of sets in use stay"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["inuse.*"]
          countType      = "imageCountMoreThan"
          countNumber    = 100000
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 4
        description  = "untagged images go after a fortnight"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 14
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 5
        description  = "the newest images stay"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["*"]
          countType      = "imageCountMoreThan"
          countNumber    = var.keep_images
        }
        action = { type = "expire" }
      },
    ]
  })
}

resource "aws_iam_role" "pull" {
  name = "edge-ai-pull"
  assume_role_policy = templatefile("${path.module}/policies/trust.json.tftpl", {
    service = "credentials.iot.amazonaws.com"
    account = local.account
  })
}

resource "aws_iam_role_policy" "pull" {
  name = "pull"
  role = aws_iam_role.pull.id
  policy = templatefile("${path.module}/policies/pull-role.json.tftpl", {
    repository = aws_ecr_repository.apps.arn
  })
}

resource "aws_iot_role_alias" "pull" {
  alias               = local.role_alias
  role_arn            = aws_iam_role.pull.arn
  credential_duration = 3600
}

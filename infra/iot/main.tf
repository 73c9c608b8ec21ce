data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_iot_endpoint" "data" {
  endpoint_type = "iot:Data-ATS"
}

data "aws_iot_endpoint" "credentials" {
  endpoint_type = "iot:CredentialProvider"
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # ARNs are composed from names, because resources that refer to each other in a cycle
  # could not be created otherwise.
  iot          = "arn:${local.partition}:iot:${var.region}:${local.account}"
  ssm          = "arn:${local.partition}:ssm:${var.region}:${local.account}"
  root         = "arn:${local.partition}:iam::${local.account}:root"
  alarms       = "arn:${local.partition}:sns:${var.region}:${local.account}:edge-ai-alarms"
  template     = "edge-ai-fleet"
  template_arn = "${local.iot}:provisioningtemplate/${local.template}"
  thing_type   = "edge-ai-device"
  device       = "edge-ai-device"
  group        = "edge-ai-all"
  role_alias   = "edge-ai-pull"
}

# Encrypts stored data that is not secret: allow-list, logs, alarms.
resource "aws_kms_key" "operations" {
  description             = "edge-ai: allow-list, logs, alarms"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      jsondecode(templatefile("${path.module}/policies/data-key.json.tftpl", {
        root     = local.root
        services = jsonencode([for service in ["dynamodb", "sns"] : "${service}.${var.region}.amazonaws.com"])
      })).Statement,
      jsondecode(templatefile("${path.module}/policies/operations-key.json.tftpl", {
        partition = local.partition
        region    = var.region
        account   = local.account
        topic     = local.alarms
      })).Statement,
    )
  })
  lifecycle {
    prevent_destroy = true
  }
}

# Encrypts the secrets that images are built from: claim key and VPN token.
resource "aws_kms_key" "parameters" {
  description             = "edge-ai: secret parameters"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = templatefile("${path.module}/policies/data-key.json.tftpl", {
    root     = local.root
    services = jsonencode(["ssm.${var.region}.amazonaws.com"])
  })
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "parameters" {
  name          = "alias/edge-ai-parameters"
  target_key_id = aws_kms_key.parameters.key_id
}

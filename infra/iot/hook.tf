# Two functions from one source, each with its own role: the pre-provisioning hook, and
# the one that retires the previous identity of a device that was flashed again.

resource "aws_dynamodb_table" "devices" {
  name                        = "edge-ai-devices"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "serial"
  deletion_protection_enabled = true
  attribute {
    name = "serial"
    type = "S"
  }
  point_in_time_recovery {
    enabled = true
  }
  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.operations.arn
  }
  lifecycle {
    prevent_destroy = true
  }
}

data "archive_file" "hook" {
  type        = "zip"
  source_dir  = "${path.module}/hook"
  excludes    = ["__pycache__"]
  output_path = "${path.module}/.build/hook.zip"
}

locals {
  hooks = {
    provision = { role = "hook-role", handler = "fleet.provision", seconds = 5 }
    retire    = { role = "retire-role", handler = "fleet.retire", seconds = 60 }
  }
}

resource "aws_cloudwatch_log_group" "hook" {
  for_each          = local.hooks
  name              = "/aws/lambda/edge-ai-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

resource "aws_iam_role" "hook" {
  for_each           = local.hooks
  name               = "edge-ai-${each.key}"
  assume_role_policy = templatefile("${path.module}/policies/trust-lambda.json.tftpl", {})
}

resource "aws_iam_role_policy" "hook" {
  for_each = local.hooks
  name     = each.key
  role     = aws_iam_role.hook[each.key].id
  policy = templatefile("${path.module}/policies/${each.value.role}.json.tftpl", {
    iot       = local.iot
    region    = var.region
    table     = aws_dynamodb_table.devices.arn
    key       = aws_kms_key.operations.arn
    alarms    = local.alarms
    log_group = aws_cloudwatch_log_group.hook[each.key].arn
  })
}

resource "aws_lambda_function" "hook" {
  # checkov:skip=CKV_AWS_50: one table and one call per run; its log has each decision
  # checkov:skip=CKV_AWS_115: a new account has a limit of 10, too low for reserved concurrency
  # checkov:skip=CKV_AWS_116: provision is called synchronously; retire has one
  # checkov:skip=CKV_AWS_117: connects to AWS's own endpoints only
  # checkov:skip=CKV_AWS_173: the environment holds names, no secret
  # checkov:skip=CKV_AWS_272: the source is in this repository, and whoever may change the function may change the signing too
  for_each         = local.hooks
  function_name    = "edge-ai-${each.key}"
  description      = "edge-ai: ${each.key} devices"
  role             = aws_iam_role.hook[each.key].arn
  runtime          = "python3.12"
  architectures    = ["arm64"]
  handler          = each.value.handler
  filename         = data.archive_file.hook.output_path
  source_code_hash = data.archive_file.hook.output_base64sha256
  timeout          = each.value.seconds
  memory_size      = 512
  environment {
    variables = {
      TABLE    = aws_dynamodb_table.devices.name
      TEMPLATE = local.template_arn
      CLAIMS   = join(",", [for batch, claim in var.claims : aws_iot_certificate.claim[batch].id if claim.active])
    }
  }
  dynamic "dead_letter_config" {
    for_each = each.key == "retire" ? [aws_sns_topic.alarms.arn] : []
    content {
      target_arn = dead_letter_config.value
    }
  }
  depends_on = [aws_iam_role_policy.hook]
}

resource "aws_lambda_permission" "provision" {
  statement_id   = "provisioning-template"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.hook["provision"].function_name
  principal      = "iot.amazonaws.com"
  source_arn     = local.template_arn
  source_account = local.account
}

resource "aws_lambda_permission" "retire" {
  statement_id   = "rule"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.hook["retire"].function_name
  principal      = "iot.amazonaws.com"
  source_arn     = aws_iot_topic_rule.connected.arn
  source_account = local.account
}

resource "aws_iot_topic_rule" "connected" {
  name        = "edge_ai_connected"
  description = "A device has connected: retires the certificate that it replaces"
  enabled     = true
  sql_version = "2016-03-23"
  sql         = "SELECT clientId, principalIdentifier FROM '$aws/events/presence/connected/+' WHERE startswith(clientId, 'edge-ai-')"
  lambda {
    function_arn = aws_lambda_function.hook["retire"].arn
  }
  error_action {
    cloudwatch_logs {
      log_group_name = aws_cloudwatch_log_group.lifecycle.name
      role_arn       = aws_iam_role.log["lifecycle"].arn
    }
  }
}

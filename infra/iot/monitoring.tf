# Logs, metrics and alarms.

resource "aws_sns_topic" "alarms" {
  name              = "edge-ai-alarms"
  kms_master_key_id = aws_kms_key.operations.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = templatefile("${path.module}/policies/alarms.json.tftpl", {
    partition = local.partition
    region    = var.region
    account   = local.account
    topic     = aws_sns_topic.alarms.arn
  })
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_log_group" "lifecycle" {
  name              = "/edge-ai/lifecycle"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

# AWS IoT prescribes the name.
resource "aws_cloudwatch_log_group" "iot" {
  name              = "AWSIotLogsV2"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

locals {
  logs = {
    lifecycle = aws_cloudwatch_log_group.lifecycle.arn
    iot       = aws_cloudwatch_log_group.iot.arn
    samples   = aws_cloudwatch_log_group.samples.arn
  }
}

resource "aws_iam_role" "log" {
  for_each = local.logs
  name     = "edge-ai-log-${each.key}"
  assume_role_policy = templatefile("${path.module}/policies/trust.json.tftpl", {
    service = "iot.amazonaws.com"
    account = local.account
  })
}

resource "aws_iam_role_policy" "log" {
  for_each = local.logs
  name     = "write"
  role     = aws_iam_role.log[each.key].id
  policy   = templatefile("${path.module}/policies/write-log-role.json.tftpl", { log_group = each.value })
}

resource "aws_iot_logging_options" "iot" {
  default_log_level = "WARN"
  role_arn          = aws_iam_role.log["iot"].arn
  depends_on        = [aws_iam_role_policy.log]
}

locals {
  lifecycle_rules = {
    edge_ai_presence = {
      description = "Connections and disconnections of devices"
      sql         = "SELECT 'presence' AS source, clientId AS thing, eventType, disconnectReason, principalIdentifier, timestamp FROM '$aws/events/presence/+/+' WHERE startswith(clientId, 'edge-ai-')"
    }
    edge_ai_offline = {
      description = "Last wills that the broker published for a device"
      sql         = "SELECT 'last-will' AS source, topic(2) AS thing, timestamp() AS timestamp FROM 'edge-ai/+/offline'"
    }
  }
}

resource "aws_iot_topic_rule" "lifecycle" {
  for_each    = merge(local.lifecycle_rules, local.job_rules)
  name        = each.key
  description = each.value.description
  enabled     = true
  sql_version = "2016-03-23"
  sql         = each.value.sql
  cloudwatch_logs {
    log_group_name = aws_cloudwatch_log_group.lifecycle.name
    role_arn       = aws_iam_role.log["lifecycle"].arn
  }
}

locals {
  # Alarms: pattern and log that is counted (null: errors of the function).
  counted = {
    devices-offline = {
      log         = aws_cloudwatch_log_group.lifecycle.name
      pattern     = "{ ($.source = \"presence\") && ($.eventType = \"disconnected\") && ($.disconnectReason != \"CLIENT_INITIATED_DISCONNECT\") && ($.disconnectReason != \"DUPLICATE_CLIENTID\") }"
      threshold   = var.offline_alarm_threshold
      description = "Devices lost their connection: see the log /edge-ai/lifecycle"
    }
    job-executions-failed = {
      log         = aws_cloudwatch_log_group.lifecycle.name
      pattern     = "{ ($.source = \"job-execution\") && ($.status != \"rejected\") }"
      threshold   = var.failed_alarm_threshold
      description = "Devices did not take a release set: see the log /edge-ai/lifecycle, and edge-app rollout status"
    }
    rollouts-aborted = {
      log         = aws_cloudwatch_log_group.lifecycle.name
      pattern     = "{ ($.source = \"job\") && ($.reasonCode = \"ABORT_CANCEL\") }"
      threshold   = 1
      description = "A rollout stopped by itself: too many devices failed"
    }
    provisioning-refused = {
      log         = aws_cloudwatch_log_group.hook["provision"].name
      pattern     = "{ $.outcome = \"refused\" }"
      threshold   = var.refused_alarm_threshold
      description = "The hook refused a provisioning: see the log /aws/lambda/edge-ai-provision"
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "counted" {
  for_each       = local.counted
  name           = "edge-ai-${each.key}"
  log_group_name = each.value.log
  pattern        = each.value.pattern
  metric_transformation {
    namespace     = "EdgeAI"
    name          = each.key
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "counted" {
  for_each            = local.counted
  alarm_name          = "edge-ai-${each.key}"
  alarm_description   = each.value.description
  namespace           = "EdgeAI"
  metric_name         = aws_cloudwatch_log_metric_filter.counted[each.key].metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each            = local.hooks
  alarm_name          = "edge-ai-${each.key}-errors"
  alarm_description   = "The function edge-ai-${each.key} failed: see its log"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.hook[each.key].function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

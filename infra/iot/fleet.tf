# Rollouts: what AWS IoT Jobs reports, the index of things, and the samples of devices.

resource "aws_iot_event_configurations" "jobs" {
  event_configurations = {
    JOB           = true
    JOB_EXECUTION = true
  }
}

resource "aws_iot_indexing_configuration" "things" {
  thing_indexing_configuration {
    thing_indexing_mode              = "REGISTRY_AND_SHADOW"
    thing_connectivity_indexing_mode = "STATUS"
    named_shadow_indexing_mode       = "ON"
    filter {
      named_shadow_names = ["fleet"]
    }
    # Fields that queries can aggregate; AWS permits five.
    dynamic "custom_field" {
      for_each = local.indexed
      content {
        name = "shadow.name.fleet.reported.${custom_field.key}"
        type = custom_field.value
      }
    }
  }
  thing_group_indexing_configuration {
    thing_group_indexing_mode = "ON"
  }
}

locals {
  indexed = { "set.name" = "String", "set.number" = "Number", "phase" = "String", "refused" = "String" }
  job_rules = {
    edge_ai_job_execution = {
      description = "Devices on which a job failed, was rejected or timed out"
      sql         = "SELECT 'job-execution' AS source, topic(4) AS job, topic(5) AS status, thingArn, executionNumber, statusDetails, timestamp FROM '$aws/events/jobExecution/+/+' WHERE topic(5) = 'failed' OR topic(5) = 'rejected' OR topic(5) = 'timed_out'"
    }
    edge_ai_job = {
      description = "Jobs that ended, and why"
      sql         = "SELECT 'job' AS source, topic(4) AS job, topic(5) AS status, reasonCode, comment, jobProcessDetails, timestamp FROM '$aws/events/job/+/+' WHERE topic(5) = 'canceled' OR topic(5) = 'completed'"
    }
  }
}

resource "aws_cloudwatch_log_group" "samples" {
  # checkov:skip=CKV_AWS_338: samples explain the last weeks of a device; a year would cost four times as much
  name              = "/edge-ai/samples"
  retention_in_days = var.sample_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

# A device sends one message an hour, an array of {timestamp, message}; a metric for each
# device would cost more than everything else.
resource "aws_iot_topic_rule" "samples" {
  name        = "edge_ai_samples"
  description = "Samples of temperature, memory, disk and load"
  enabled     = true
  sql_version = "2016-03-23"
  sql         = "SELECT * FROM 'edge-ai/+/samples'"
  cloudwatch_logs {
    log_group_name = aws_cloudwatch_log_group.samples.name
    role_arn       = aws_iam_role.log["samples"].arn
    batch_mode     = true
  }
}

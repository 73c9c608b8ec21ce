# The build machine has no open port, and may read exactly what a build needs.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_ssm_parameter" {
    defaults = { insecure_value = "ami-00000000000000000" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::edge-ai-build-cache-123456789012-eu-central-1" }
  }
}

variables {
  region         = "eu-central-1"
  parameters_key = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "the_machine_is_closed" {
  command = plan
  assert {
    condition     = aws_instance.builder.metadata_options[0].http_tokens == "required" && aws_instance.builder.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv1, or metadata for containers"
  }
  assert {
    condition     = aws_instance.builder.root_block_device[0].encrypted
    error_message = "the disk is not encrypted"
  }
  assert {
    condition     = length(fileset(path.module, "*.tf")) > 0 && alltrue([for f in fileset(path.module, "*.tf") : !can(regex("ingress|key_name", file("${path.module}/${f}")))])
    error_message = "a port is open, or a key permits logins"
  }
}

run "it_stops_itself" {
  command = plan
  assert {
    condition     = aws_cloudwatch_metric_alarm.idle.alarm_actions == toset(["arn:aws:automate:eu-central-1:ec2:stop"]) && aws_cloudwatch_metric_alarm.idle.evaluation_periods == 12
    error_message = "an idle machine is not stopped and keeps costing money"
  }
}

run "it_reads_exactly_the_parameters" {
  command = plan
  assert {
    condition = toset(flatten([for s in jsondecode(aws_iam_role_policy.builder.policy).Statement : s.Resource if startswith(flatten([s.Action])[0], "ssm:")])) == toset([
      for name in ["/fleet-provisioning/claim-cert", "/fleet-provisioning/claim-key", "/fleet-provisioning/config", "/fleet/config", "/pki/container-signing-public-key", "/ecr/repository-url", "/nordvpn-token", "/pki", "/pki/*"] :
      "arn:aws:ssm:eu-central-1:123456789012:parameter/edge-ai${name}"
    ])
    error_message = "it reads other parameters, or not all"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.builder.policy).Statement : s.Resource != "*" && alltrue([for a in flatten([s.Action]) : !strcontains(a, "*")])])
    error_message = "a role has an action on every resource"
  }
}

run "refuses_wrong_variables" {
  command = plan
  variables {
    region         = "Frankfurt"
    parameters_key = "alias/edge-ai-parameters"
    instance_type  = "big"
    disk_gib       = 20
    idle_minutes   = 7
    cache_days     = 1
  }
  expect_failures = [var.region, var.parameters_key, var.instance_type, var.disk_gib, var.idle_minutes, var.cache_days]
}

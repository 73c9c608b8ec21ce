# Tests of what the policies allow, and of the validation of variables. Nothing is
# created: the providers are mocked, and everything is asserted on the plan.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_iot_endpoint" {
    defaults = { endpoint_address = "example-ats.iot.eu-central-1.amazonaws.com" }
  }
  mock_data "aws_kms_public_key" {
    defaults = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n" }
  }
  mock_resource "aws_kms_key" {
    defaults = {
      arn    = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
      key_id = "00000000-0000-0000-0000-000000000000"
    }
  }
  mock_resource "aws_dynamodb_table" {
    defaults = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/edge-ai-devices" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = {
      arn            = "arn:aws:ecr:eu-central-1:123456789012:repository/edge-ai"
      repository_url = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/edge-ai"
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mock" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:edge-ai-alarms" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:mock" }
  }
  mock_resource "aws_iot_topic_rule" {
    defaults = { arn = "arn:aws:iot:eu-central-1:123456789012:rule/mock" }
  }
  mock_resource "aws_iot_certificate" {
    defaults = {
      id              = "1111111111111111111111111111111111111111111111111111111111111111"
      arn             = "arn:aws:iot:eu-central-1:123456789012:cert/1111111111111111111111111111111111111111111111111111111111111111"
      certificate_pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    }
  }
}

mock_provider "archive" {
  override_during = plan
}

variables {
  region        = "eu-central-1"
  claims        = { "a" = { csr_file = "tests/claim.csr" } }
  current_claim = "a"
  signers       = ["arn:aws:iam::123456789012:role/release"]
}

run "claim_can_only_provision" {
  command = plan
  assert {
    condition = toset(flatten([for s in jsondecode(aws_iot_policy.claim.policy).Statement : s.Action])) == toset([
      "iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive"
    ])
    error_message = "the claim policy has other actions"
  }
  assert {
    condition = toset([for r in flatten([for s in jsondecode(aws_iot_policy.claim.policy).Statement : s.Resource]) : trimprefix(r, "arn:aws:iot:eu-central-1:123456789012:")]) == toset([
      "client/prov-*",
      "topic/$aws/certificates/create-from-csr/json",
      "topic/$aws/certificates/create-from-csr/json/accepted",
      "topic/$aws/certificates/create-from-csr/json/rejected",
      "topic/$aws/provisioning-templates/edge-ai-fleet/provision/json",
      "topic/$aws/provisioning-templates/edge-ai-fleet/provision/json/accepted",
      "topic/$aws/provisioning-templates/edge-ai-fleet/provision/json/rejected",
      "topicfilter/$aws/certificates/create-from-csr/json/accepted",
      "topicfilter/$aws/certificates/create-from-csr/json/rejected",
      "topicfilter/$aws/provisioning-templates/edge-ai-fleet/provision/json/accepted",
      "topicfilter/$aws/provisioning-templates/edge-ai-fleet/provision/json/rejected",
    ])
    error_message = "the claim policy reaches other resources"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iot_policy.claim.policy).Statement : s.Effect == "Allow" && s.Action == "iot:Connect" ? s.Resource == "arn:aws:iot:eu-central-1:123456789012:client/prov-*" : true])
    error_message = "a claim can connect with other client ids"
  }
}

run "device_acts_only_as_itself" {
  command = plan
  assert {
    condition = alltrue([
      for r in flatten([for s in jsondecode(aws_iot_policy.device.policy).Statement : s.Resource if s.Action != "iot:AssumeRoleWithCertificate"]) :
      r == "arn:aws:iot:eu-central-1:123456789012:client/$${iot:Connection.Thing.ThingName}" ||
      can(regex("^arn:aws:iot:eu-central-1:123456789012:topic(filter)?/[$]aws/things/[$][{]iot:Connection.Thing.ThingName[}]/(shadow|jobs)/", r)) ||
      can(regex("^arn:aws:iot:eu-central-1:123456789012:topic/edge-ai/[$][{]iot:Connection.Thing.ThingName[}]/(offline|samples)$", r))
    ])
    error_message = "a device reaches what is not its own"
  }
  assert {
    condition     = [for s in jsondecode(aws_iot_policy.device.policy).Statement : s.Condition if s.Action == "iot:Connect"] == [{ Bool = { "iot:Connection.Thing.IsAttached" = "true" } }]
    error_message = "a certificate that is not bound to its thing can connect"
  }
  assert {
    condition     = [for s in jsondecode(aws_iot_policy.device.policy).Statement : s.Resource if s.Action == "iot:AssumeRoleWithCertificate"] == ["arn:aws:iot:eu-central-1:123456789012:rolealias/${aws_iot_role_alias.pull.alias}"]
    error_message = "a device can take another role than the one to pull"
  }
  assert {
    condition     = length(replace(aws_iot_policy.device.policy, "/\\s/", "")) <= 2048
    error_message = "AWS IoT accepts policies of at most 2048 characters"
  }
}

run "device_asks_and_does_not_answer" {
  command = plan
  assert {
    condition = toset([
      for r in flatten([for s in jsondecode(aws_iot_policy.device.policy).Statement : s.Resource if s.Action == "iot:Publish"]) :
      replace(r, "arn:aws:iot:eu-central-1:123456789012:topic/", "")
      ]) == toset([
      "$aws/things/$${iot:Connection.Thing.ThingName}/shadow/get",
      "$aws/things/$${iot:Connection.Thing.ThingName}/shadow/update",
      "$aws/things/$${iot:Connection.Thing.ThingName}/shadow/name/*/get",
      "$aws/things/$${iot:Connection.Thing.ThingName}/shadow/name/*/update",
      "$aws/things/$${iot:Connection.Thing.ThingName}/jobs/get",
      "$aws/things/$${iot:Connection.Thing.ThingName}/jobs/*/get",
      "$aws/things/$${iot:Connection.Thing.ThingName}/jobs/*/update",
      "edge-ai/$${iot:Connection.Thing.ThingName}/offline",
      "edge-ai/$${iot:Connection.Thing.ThingName}/samples",
    ])
    error_message = "a device can publish to a topic with other messages than its own requests"
  }
}

run "new_things_join_the_group_of_all" {
  command = plan
  assert {
    condition     = jsondecode(aws_iot_provisioning_template.fleet.template_body).Resources.thing.Properties.ThingGroups == [aws_iot_thing_group.all.name]
    error_message = "the template names another group"
  }
  assert {
    condition     = jsondecode(aws_iot_provisioning_template.fleet.template_body).Resources.thing.OverrideSettings.ThingGroups == "MERGE"
    error_message = "a renewed certificate would move the thing out of its other groups, or fail"
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.provisioning.policy).Statement : s.Resource if s.Action == "iot:AddThingToThingGroup"] == [["arn:aws:iot:eu-central-1:123456789012:thing/edge-ai-*", "arn:aws:iot:eu-central-1:123456789012:thinggroup/edge-ai-all"]]
    error_message = "the provisioning role cannot add things to the group, or adds them to others"
  }
}

run "operators_roll_out_our_jobs_only" {
  command = plan
  assert {
    condition = alltrue([
      for r in flatten([for s in jsondecode(aws_iam_policy.operator.policy).Statement : s.Resource if anytrue([for a in flatten([s.Action]) : startswith(a, "iot:")])]) :
      r == "*" || can(regex("^arn:aws:iot:eu-central-1:123456789012:(job/edge-[*]|thing/edge-ai-[*]|thinggroup/edge-ai-[*]|index/AWS_Things)$", r))
    ])
    error_message = "an operator reaches other jobs, things or groups"
  }
}

run "jobs_are_recorded_and_counted" {
  command = plan
  assert {
    condition     = aws_iot_event_configurations.jobs.event_configurations == tomap({ JOB = true, JOB_EXECUTION = true })
    error_message = "AWS IoT publishes no events of jobs"
  }
  assert {
    condition     = alltrue([for name in ["edge_ai_job", "edge_ai_job_execution"] : one(aws_iot_topic_rule.lifecycle[name].cloudwatch_logs).log_group_name == aws_cloudwatch_log_group.lifecycle.name])
    error_message = "events of jobs are not in the log that alarms count"
  }
  assert {
    condition     = alltrue([for name in ["job-executions-failed", "rollouts-aborted"] : aws_cloudwatch_metric_alarm.counted[name].alarm_actions == toset([aws_sns_topic.alarms.arn])])
    error_message = "nobody hears of a failed rollout"
  }
  assert {
    condition     = one(aws_iot_topic_rule.samples.cloudwatch_logs).batch_mode == true
    error_message = "the whole array of samples would be one record of the log"
  }
}

run "the_index_has_what_rollouts_query" {
  command = plan
  assert {
    condition     = aws_iot_indexing_configuration.things.thing_indexing_configuration[0].filter[0].named_shadow_names == toset(["fleet"])
    error_message = "the shadow fleet is not indexed"
  }
  assert {
    condition     = length(aws_iot_indexing_configuration.things.thing_indexing_configuration[0].custom_field) <= 5
    error_message = "AWS indexes at most five custom fields"
  }
}

run "only_set_signers_sign_sets" {
  command = plan
  variables {
    set_signing_keys        = { first = {}, second = {}, third = { trusted = false, enabled = false } }
    current_set_signing_key = "second"
    set_signers             = ["arn:aws:iam::123456789012:role/rollout"]
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.set_signing : [for s in jsondecode(key.policy).Statement : s.Principal.AWS if contains(flatten([s.Action]), "kms:Sign")] == [["arn:aws:iam::123456789012:role/rollout"]]])
    error_message = "somebody else may sign release sets"
  }
  assert {
    condition     = !strcontains(aws_kms_key.signing["first"].policy, "rollout")
    error_message = "who signs release sets may sign containers"
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.set_signing : key.customer_master_key_spec == "ECC_NIST_P256" && key.key_usage == "SIGN_VERIFY"])
    error_message = "devices verify P-256 only"
  }
  assert {
    condition     = [for a in aws_kms_alias.set_signing : a.name] == ["alias/edge-set-signing"]
    error_message = "edge-app looks for another alias"
  }
  assert {
    condition = toset([for p in aws_ssm_parameter.public : p.name if strcontains(p.name, "set-signing")]) == toset([
      "/edge-ai/pki/set-signing-public-key",
      "/edge-ai/pki/set-signing-public-key-first",
    ])
    error_message = "builds look for other parameters"
  }
}

run "without_a_key_there_are_no_set_keys" {
  command = plan
  assert {
    condition     = length(aws_kms_key.set_signing) + length(aws_kms_alias.set_signing) == 0
    error_message = "release sets must be switched on by a decision"
  }
}

run "refuses_sets_that_nobody_can_sign" {
  command = plan
  variables {
    set_signing_keys        = { first = {} }
    current_set_signing_key = "other"
  }
  expect_failures = [var.current_set_signing_key, var.set_signers]
}

run "template_names_the_thing_itself" {
  command = plan
  assert {
    condition     = jsondecode(aws_iot_provisioning_template.fleet.template_body).Resources.thing.Properties.ThingName == { "Fn::Join" = ["", ["edge-ai-", { Ref = "SerialNumber" }]] }
    error_message = "the name must come from the serial number, not from the device"
  }
  assert {
    condition     = jsondecode(aws_iot_provisioning_template.fleet.template_body).Resources.thing.Properties.ThingTypeName == aws_iot_thing_type.device.name
    error_message = "the template names another thing type"
  }
  assert {
    condition     = jsondecode(aws_iot_provisioning_template.fleet.template_body).Resources.policy.Properties.PolicyName == aws_iot_policy.device.name
    error_message = "the template names another policy"
  }
  assert {
    condition     = aws_iot_provisioning_template.fleet.pre_provisioning_hook[0].target_arn == aws_lambda_function.hook["provision"].arn
    error_message = "the template does not call the hook"
  }
  assert {
    condition     = aws_lambda_permission.provision.source_arn == "arn:aws:iot:eu-central-1:123456789012:provisioningtemplate/edge-ai-fleet" && aws_lambda_permission.provision.source_account == "123456789012"
    error_message = "others than our template may call the hook"
  }
  assert {
    condition     = aws_lambda_function.hook["provision"].timeout <= 5
    error_message = "the hook must answer within AWS IoT's limit of 5 seconds"
  }
}

run "only_named_resources" {
  command = plan
  assert {
    # AWS defines no resources for these actions: docs/cloud.md lists them.
    condition = toset(flatten([
      for p in concat(
        [aws_iam_role_policy.provisioning.policy, aws_iam_role_policy.pull.policy, aws_iam_policy.developer.policy, aws_iam_policy.operator.policy],
        [for p in aws_iam_role_policy.hook : p.policy],
        [for p in aws_iam_role_policy.log : p.policy],
      ) : [for s in jsondecode(p).Statement : s.Action if s.Resource == "*"]
      ])) == toset([
      "ecr:GetAuthorizationToken", "iot:AttachThingPrincipal", "iot:DetachThingPrincipal",
      "iot:ListJobs", "iot:ListPrincipalThings", "iot:ListThingGroups", "iot:ListThingPrincipals", "iot:RegisterThing",
    ])
    error_message = "a role has an action on every resource"
  }
  assert {
    condition = length(flatten([
      for p in concat(
        [aws_iam_role_policy.provisioning.policy, aws_iam_role_policy.pull.policy, aws_iam_policy.developer.policy, aws_iam_policy.operator.policy],
        [for p in aws_iam_role_policy.hook : p.policy],
        [for p in aws_iam_role_policy.log : p.policy],
      ) : [for s in jsondecode(p).Statement : s if anytrue([for a in flatten([s.Action]) : strcontains(a, "*")])]
    ])) == 0
    error_message = "a role would get actions that AWS adds later"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.hook["provision"].policy).Statement : alltrue([for a in flatten([s.Action]) : !can(regex("Delete|Detach|Attach|iot:Update|Deactivate", a))])])
    error_message = "the hook could touch a certificate"
  }
  assert {
    condition     = alltrue([for r in [aws_iam_role.provisioning, aws_iam_role.pull, aws_iam_role.log["iot"], aws_iam_role.log["lifecycle"], aws_iam_role.log["samples"]] : jsondecode(r.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"])
    error_message = "a role could be assumed for another account"
  }
}

run "only_signers_sign" {
  command = plan
  assert {
    condition     = [for s in jsondecode(aws_kms_key.signing["first"].policy).Statement : s.Principal.AWS if contains(flatten([s.Action]), "kms:Sign")] == [["arn:aws:iam::123456789012:role/release"]]
    error_message = "somebody else may sign"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_kms_key.signing["first"].policy).Statement : !contains(flatten([s.Action]), "kms:*")])
    error_message = "administrators could sign"
  }
  assert {
    condition     = aws_kms_key.signing["first"].customer_master_key_spec == "ECC_NIST_P256" && aws_kms_key.signing["first"].key_usage == "SIGN_VERIFY"
    error_message = "devices verify P-256 only"
  }
  assert {
    condition     = aws_kms_alias.signing.name == "alias/edge-container-signing"
    error_message = "edge-app looks for another alias"
  }
}

run "only_ticket_signers_sign_tickets" {
  command = plan
  variables {
    engineer_signing_keys        = { first = {}, second = {}, third = { trusted = false, enabled = false } }
    current_engineer_signing_key = "second"
    ticket_signers               = ["arn:aws:iam::123456789012:role/on-call"]
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.engineer_signing : [for s in jsondecode(key.policy).Statement : s.Principal.AWS if contains(flatten([s.Action]), "kms:Sign")] == [["arn:aws:iam::123456789012:role/on-call"]]])
    error_message = "somebody else may sign tickets"
  }
  assert {
    condition     = !strcontains(aws_kms_key.signing["first"].policy, "on-call")
    error_message = "who signs tickets may sign containers"
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.engineer_signing : key.customer_master_key_spec == "ECC_NIST_P256" && key.key_usage == "SIGN_VERIFY"])
    error_message = "devices verify P-256 only"
  }
  assert {
    condition     = [for a in aws_kms_alias.engineer_signing : a.name] == ["alias/edge-engineer-signing"]
    error_message = "edge-app looks for another alias"
  }
  assert {
    condition = toset([for p in aws_ssm_parameter.public : p.name if strcontains(p.name, "engineer")]) == toset([
      "/edge-ai/pki/engineer-signing-public-key",
      "/edge-ai/pki/engineer-signing-public-key-first",
    ])
    error_message = "builds look for other parameters"
  }
}

run "without_a_key_there_are_no_tickets" {
  command = plan
  assert {
    condition     = length(aws_kms_key.engineer_signing) + length(aws_kms_alias.engineer_signing) == 0
    error_message = "tickets must be switched on by a decision"
  }
}

run "refuses_tickets_that_nobody_can_sign" {
  command = plan
  variables {
    engineer_signing_keys        = { first = {} }
    current_engineer_signing_key = "other"
  }
  expect_failures = [var.current_engineer_signing_key, var.ticket_signers]
}

run "only_os_signers_sign_the_os" {
  command = plan
  variables {
    os_signing_keys        = { first = {}, second = {}, third = { trusted = false, enabled = false } }
    current_os_signing_key = "second"
    os_signers             = ["arn:aws:iam::123456789012:role/os-publisher"]
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.os_signing : [for s in jsondecode(key.policy).Statement : s.Principal.AWS if contains(flatten([s.Action]), "kms:Sign")] == [["arn:aws:iam::123456789012:role/os-publisher"]]])
    error_message = "somebody else may sign the OS"
  }
  assert {
    condition     = !strcontains(aws_kms_key.signing["first"].policy, "os-publisher")
    error_message = "who signs the OS may sign containers"
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.os_signing : key.customer_master_key_spec == "ECC_NIST_P256" && key.key_usage == "SIGN_VERIFY"])
    error_message = "devices verify P-256 only"
  }
  assert {
    condition     = [for a in aws_kms_alias.os_signing : a.name] == ["alias/edge-os-signing"]
    error_message = "edge-app looks for another alias"
  }
  assert {
    condition = toset([for p in aws_ssm_parameter.public : p.name if strcontains(p.name, "os-signing")]) == toset([
      "/edge-ai/pki/os-signing-public-key",
      "/edge-ai/pki/os-signing-public-key-first",
    ])
    error_message = "builds look for other parameters"
  }
}

run "without_a_key_there_are_no_updates" {
  command = plan
  assert {
    condition     = length(aws_kms_key.os_signing) + length(aws_kms_alias.os_signing) == 0
    error_message = "updates must be switched on by a decision"
  }
}

run "refuses_updates_that_nobody_can_sign" {
  command = plan
  variables {
    os_signing_keys        = { first = {} }
    current_os_signing_key = "other"
  }
  expect_failures = [var.current_os_signing_key, var.os_signers]
}

run "refuses_names_of_keys_that_no_parameter_has" {
  command = plan
  variables {
    engineer_signing_keys = { "First/" = {} }
  }
  expect_failures = [var.engineer_signing_keys]
}

run "refuses_trusted_keys_of_which_none_is_current" {
  command = plan
  variables {
    engineer_signing_keys = { first = {} }
    ticket_signers        = ["on-call"]
  }
  expect_failures = [var.current_engineer_signing_key, var.ticket_signers]
}

run "images_stay_as_they_are" {
  command = plan
  assert {
    condition     = aws_ecr_repository.apps.image_tag_mutability == "IMMUTABLE_WITH_EXCLUSION" && [for f in aws_ecr_repository.apps.image_tag_mutability_exclusion_filter : f.filter] == ["sha256-*.sig"]
    error_message = "a tag could be moved, or a second signature not be added"
  }
  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.apps.policy).rules[0].selection.tagPatternList == ["sha256-*"]
    error_message = "signatures must be selected by the first rule, so that no other expires them"
  }
}

run "parameters_have_their_names_and_no_secret" {
  command = plan
  assert {
    condition = toset([for p in aws_ssm_parameter.public : p.name]) == toset([
      "/edge-ai/fleet-provisioning/claim-cert",
      "/edge-ai/fleet-provisioning/config",
      "/edge-ai/fleet/config",
      "/edge-ai/pki/container-signing-public-key",
      "/edge-ai/ecr/repository-url",
    ])
    error_message = "builds look for other parameters"
  }
  assert {
    condition     = keys(jsondecode(aws_ssm_parameter.public["fleet-provisioning/config"].value)) == ["endpoint", "template_name"]
    error_message = "devices know endpoint and template_name"
  }
  assert {
    condition = jsondecode(aws_ssm_parameter.public["fleet/config"].value) == {
      credentials_endpoint = "example-ats.iot.eu-central-1.amazonaws.com"
      ecr_endpoint         = "api.ecr.eu-central-1.amazonaws.com"
      region               = "eu-central-1"
      role_alias           = "edge-ai-pull"
    }
    error_message = "devices look for other values to pull images"
  }
}

run "a_second_key_is_trusted_beside_the_first" {
  command = plan
  variables {
    signing_keys        = { first = {}, second = {} }
    current_signing_key = "second"
  }
  assert {
    condition     = contains([for p in aws_ssm_parameter.public : p.name], "/edge-ai/pki/container-signing-public-key-first")
    error_message = "the earlier key is no longer trusted"
  }
}

run "the_hook_ignores_an_inactive_batch" {
  command = plan
  variables {
    claims        = { a = { csr_file = "tests/claim.csr", active = false }, b = { csr_file = "tests/claim.csr" } }
    current_claim = "b"
  }
  assert {
    condition     = length(split(",", aws_lambda_function.hook["provision"].environment[0].variables.CLAIMS)) == 1
    error_message = "the hook still accepts the inactive batch"
  }
  assert {
    condition     = aws_iot_certificate.claim["a"].active == false
    error_message = "the certificate is still active"
  }
}

run "alarms_reach_people" {
  command = plan
  variables {
    alarm_emails = ["operators@example.com"]
  }
  assert {
    condition     = alltrue([for a in concat(values(aws_cloudwatch_metric_alarm.counted), values(aws_cloudwatch_metric_alarm.errors)) : a.alarm_actions == toset([aws_sns_topic.alarms.arn])])
    error_message = "an alarm has no action"
  }
  assert {
    condition     = length(aws_sns_topic_subscription.alarms) == 1
    error_message = "no address receives the alarms"
  }
}

run "refuses_wrong_variables" {
  command = plan
  variables {
    region                  = "Frankfurt"
    current_claim           = "b"
    signers                 = []
    current_signing_key     = "other"
    alarm_emails            = ["nobody"]
    keep_images             = 1
    log_retention_days      = 7
    offline_alarm_threshold = 0
    failed_alarm_threshold  = 0
    sample_retention_days   = 8
    refused_alarm_threshold = 1.5
  }
  expect_failures = [
    var.region, var.current_claim, var.signers, var.current_signing_key, var.alarm_emails, var.keep_images,
    var.log_retention_days, var.offline_alarm_threshold, var.failed_alarm_threshold, var.sample_retention_days, var.refused_alarm_threshold,
  ]
}

run "refuses_to_build_from_a_batch_that_is_switched_off" {
  command = plan
  variables {
    claims = { a = { csr_file = "tests/claim.csr", active = false } }
  }
  expect_failures = [var.current_claim]
}

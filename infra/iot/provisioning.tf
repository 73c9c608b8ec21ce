# Fleet provisioning by claim: claim certificates, their policy, and the template that
# turns a request into a thing with a certificate and a policy.

resource "aws_iot_certificate" "claim" {
  for_each = var.claims
  csr      = file("${path.module}/${each.value.csr_file}")
  active   = each.value.active
}

resource "aws_iot_policy" "claim" {
  name = "edge-ai-claim"
  policy = templatefile("${path.module}/policies/claim.json.tftpl", {
    iot      = local.iot
    template = local.template
  })
}

resource "aws_iot_policy_attachment" "claim" {
  for_each = aws_iot_certificate.claim
  policy   = aws_iot_policy.claim.name
  target   = each.value.arn
}

resource "aws_iot_thing_type" "device" {
  name = local.thing_type
  properties {
    description           = "Device that runs the Edge AI Secure Image"
    searchable_attributes = ["serial"]
  }
}

# The provisioning template adds each new thing. A continuous job for this group reaches
# devices that come later, too.
resource "aws_iot_thing_group" "all" {
  name = local.group
  properties {
    description = "All devices"
  }
}

resource "aws_iot_policy" "device" {
  name = local.device
  policy = templatefile("${path.module}/policies/device.json.tftpl", {
    iot        = local.iot
    role_alias = local.role_alias
  })
}

resource "aws_iam_role" "provisioning" {
  name = "edge-ai-provisioning"
  assume_role_policy = templatefile("${path.module}/policies/trust.json.tftpl", {
    service = "iot.amazonaws.com"
    account = local.account
  })
}

resource "aws_iam_role_policy" "provisioning" {
  name = "register-devices"
  role = aws_iam_role.provisioning.id
  policy = templatefile("${path.module}/policies/provisioning-role.json.tftpl", {
    iot           = local.iot
    thing_type    = local.thing_type
    group         = local.group
    device_policy = local.device
  })
}

resource "aws_iot_provisioning_template" "fleet" {
  name                  = local.template
  description           = "Turns a claim into a device, if the hook allows it"
  enabled               = true
  provisioning_role_arn = aws_iam_role.provisioning.arn
  template_body         = file("${path.module}/provisioning-template.json")
  pre_provisioning_hook {
    target_arn = aws_lambda_function.hook["provision"].arn
  }
  # AWS IoT calls the hook as soon as the template exists.
  depends_on = [aws_lambda_permission.provision, aws_iam_role_policy.provisioning, aws_iot_thing_type.device, aws_iot_thing_group.all, aws_iot_policy.device]
}

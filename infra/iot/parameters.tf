# Parameters that builds and laptops read. The two secrets, /edge-ai/fleet-provisioning/claim-key
# and /edge-ai/nordvpn-token, are added by hand (docs/cloud.md), so that they are in
# neither Terraform nor its state.

locals {
  parameters = merge(
    {
      "fleet-provisioning/claim-cert" = aws_iot_certificate.claim[var.current_claim].certificate_pem
      "fleet-provisioning/config" = jsonencode({
        endpoint      = data.aws_iot_endpoint.data.endpoint_address
        template_name = local.template
      })
      "fleet/config" = jsonencode({
        credentials_endpoint = data.aws_iot_endpoint.credentials.endpoint_address
        ecr_endpoint         = "api.ecr.${var.region}.${data.aws_partition.current.dns_suffix}"
        region               = var.region
        role_alias           = aws_iot_role_alias.pull.alias
      })
      "pki/container-signing-public-key" = data.aws_kms_public_key.signing[var.current_signing_key].public_key_pem
      "ecr/repository-url"               = aws_ecr_repository.apps.repository_url
    },
    {
      for name, key in data.aws_kms_public_key.signing :
      "pki/container-signing-public-key-${name}" => key.public_key_pem if name != var.current_signing_key
    },
    {
      for name, key in data.aws_kms_public_key.set_signing :
      name == var.current_set_signing_key ? "pki/set-signing-public-key" : "pki/set-signing-public-key-${name}" => key.public_key_pem
    },
    {
      for name, key in data.aws_kms_public_key.engineer_signing :
      name == var.current_engineer_signing_key ? "pki/engineer-signing-public-key" : "pki/engineer-signing-public-key-${name}" => key.public_key_pem
    },
    {
      for name, key in data.aws_kms_public_key.os_signing :
      name == var.current_os_signing_key ? "pki/os-signing-public-key" : "pki/os-signing-public-key-${name}" => key.public_key_pem
    },
  )
}

resource "aws_ssm_parameter" "public" {
  # checkov:skip=CKV2_AWS_34: certificates, public keys and addresses are public
  # checkov:skip=CKV_AWS_337: the same
  for_each = local.parameters
  name     = "/edge-ai/${each.key}"
  type     = "String"
  value    = each.value
}

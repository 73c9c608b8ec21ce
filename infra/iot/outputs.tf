output "endpoint" {
  description = "Endpoint that devices connect to; part of /edge-ai/fleet-provisioning/config."
  value       = data.aws_iot_endpoint.data.endpoint_address
}

output "credentials_endpoint" {
  description = "Endpoint where a device exchanges its certificate for credentials to pull images, with the role alias edge-ai-pull."
  value       = data.aws_iot_endpoint.credentials.endpoint_address
}

output "template" {
  description = "Name of the provisioning template."
  value       = aws_iot_provisioning_template.fleet.name
}

output "repository_url" {
  description = "The only repository that devices trust."
  value       = aws_ecr_repository.apps.repository_url
}

output "signing_alias" {
  description = "KMS alias that edge-app signs with."
  value       = aws_kms_alias.signing.name
}

output "ticket_signing_alias" {
  description = "KMS alias that edge-app signs tickets with; null while they are switched off."
  value       = one(aws_kms_alias.engineer_signing[*].name)
}

output "set_signing_alias" {
  description = "KMS alias that edge-app signs release sets with; null while there is none."
  value       = one(aws_kms_alias.set_signing[*].name)
}

output "os_signing_alias" {
  description = "KMS alias that edge-app signs images of the operating system with; null while updates are switched off."
  value       = one(aws_kms_alias.os_signing[*].name)
}

output "parameters_key" {
  description = "ARN of the key that encrypts the secret parameters; infra/builder needs it."
  value       = aws_kms_key.parameters.arn
}

output "devices_table" {
  description = "Name of the allow-list table."
  value       = aws_dynamodb_table.devices.name
}

output "claims" {
  description = "ID of each claim certificate, by batch."
  value       = { for batch, claim in aws_iot_certificate.claim : batch => claim.id }
}

output "developer_policy" {
  description = "ARN of the policy for people who push images."
  value       = aws_iam_policy.developer.arn
}

output "operator_policy" {
  description = "ARN of the policy for people who allow devices."
  value       = aws_iam_policy.operator.arn
}

# Policies for people's roles. They are attached outside of this configuration.

resource "aws_iam_policy" "developer" {
  name        = "edge-ai-developer"
  description = "Push and pull images, look up where; signing is granted by the key itself"
  policy = templatefile("${path.module}/policies/developer.json.tftpl", {
    repository = aws_ecr_repository.apps.arn
    ssm        = local.ssm
  })
}

resource "aws_iam_policy" "operator" {
  name        = "edge-ai-operator"
  description = "Allow serial numbers and open windows for re-flashing"
  policy = templatefile("${path.module}/policies/operator.json.tftpl", {
    table  = aws_dynamodb_table.devices.arn
    key    = aws_kms_key.operations.arn
    region = var.region
  })
}

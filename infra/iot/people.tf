# Policies for people's roles. They are attached outside of this configuration.

resource "aws_iam_policy" "developer" {
  name        = "edge-ai-developer"
  description = "Push and pull images, look up where, watch rollouts; signing is granted by the key itself"
  policy = templatefile("${path.module}/policies/developer.json.tftpl", {
    repository = aws_ecr_repository.apps.arn
    ssm        = local.ssm
    iot        = local.iot
  })
}

resource "aws_iam_policy" "operator" {
  name        = "edge-ai-operator"
  description = "Allow serial numbers, open windows for re-flashing, roll out release sets"
  policy = templatefile("${path.module}/policies/operator.json.tftpl", {
    table  = aws_dynamodb_table.devices.arn
    key    = aws_kms_key.operations.arn
    region = var.region
    iot    = local.iot
    ssm    = local.ssm

    repository = aws_ecr_repository.apps.arn
  })
}

resource "aws_iam_role" "builder" {
  name               = "edge-ai-builder"
  assume_role_policy = templatefile("${path.module}/policies/trust-ec2.json.tftpl", {})
}

resource "aws_iam_instance_profile" "builder" {
  name = "edge-ai-builder"
  role = aws_iam_role.builder.name
}

resource "aws_iam_role_policy" "builder" {
  name = "build"
  role = aws_iam_role.builder.id
  policy = templatefile("${path.module}/policies/builder.json.tftpl", {
    ssm    = "arn:${local.partition}:ssm:${var.region}:${local.account}"
    region = var.region
    key    = var.parameters_key
    cache  = aws_s3_bucket.cache.arn
  })
}

# Rights that Session Manager needs on the machine. The managed policy
# AmazonSSMManagedInstanceCore would also let it read every parameter of the account.
resource "aws_iam_role_policy_attachment" "session" {
  role       = aws_iam_role.builder.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy"
}

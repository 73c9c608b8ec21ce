# Machine that builds images. It is reached through Session Manager and has no open port.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# Ubuntu 24.04, a host that Yocto 5.0 is tested on. Canonical maintains this parameter.
data "aws_ssm_parameter" "image" {
  name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
}

resource "aws_instance" "builder" {
  # checkov:skip=CKV_AWS_88: a public address to fetch sources from the internet, and no open port
  ami                         = data.aws_ssm_parameter.image.insecure_value
  instance_type               = var.instance_type
  subnet_id                   = aws_subnet.builder.id
  vpc_security_group_ids      = [aws_security_group.builder.id]
  iam_instance_profile        = aws_iam_instance_profile.builder.name
  associate_public_ip_address = true
  ebs_optimized               = true
  monitoring                  = true
  user_data_replace_on_change = false
  user_data = templatefile("${path.module}/setup.sh.tftpl", {
    region = var.region
    cache  = aws_s3_bucket.cache.bucket
  })
  instance_initiated_shutdown_behavior = "stop"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    volume_type = "gp3"
    volume_size = var.disk_gib
    encrypted   = true
    throughput  = 500
    iops        = 6000
  }
  tags = { Name = "edge-ai-builder" }
  lifecycle {
    # A newer Ubuntu must not replace the machine.
    ignore_changes = [ami]
  }
}

# CloudWatch stops the machine, so that no program on it needs the right to.
resource "aws_cloudwatch_metric_alarm" "idle" {
  alarm_name          = "edge-ai-builder-idle"
  alarm_description   = "Stops the build machine when it is idle"
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  dimensions          = { InstanceId = aws_instance.builder.id }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = var.idle_minutes / 5
  comparison_operator = "LessThanThreshold"
  threshold           = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:${local.partition}:automate:${var.region}:ec2:stop"]
}

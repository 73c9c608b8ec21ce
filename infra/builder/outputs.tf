output "instance" {
  description = "ID of the build machine: aws ec2 start-instances, then aws ssm start-session --target."
  value       = aws_instance.builder.id
}

output "cache" {
  description = "Bucket with the shared state and sources of earlier builds."
  value       = aws_s3_bucket.cache.bucket
}

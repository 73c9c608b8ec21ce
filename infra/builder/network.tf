resource "aws_vpc" "builder" {
  # checkov:skip=CKV2_AWS_11: one machine without an open port; it runs only while it builds
  cidr_block           = "10.77.0.0/24"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = "edge-ai-builder" }
}

resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.builder.id
}

resource "aws_internet_gateway" "builder" {
  vpc_id = aws_vpc.builder.id
}

resource "aws_subnet" "builder" {
  vpc_id     = aws_vpc.builder.id
  cidr_block = "10.77.0.0/25"
  tags       = { Name = "edge-ai-builder" }
}

resource "aws_route_table" "builder" {
  vpc_id = aws_vpc.builder.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.builder.id
  }
}

resource "aws_route_table_association" "builder" {
  subnet_id      = aws_subnet.builder.id
  route_table_id = aws_route_table.builder.id
}

# Traffic to the cache in S3 does not go through the internet.
resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.builder.id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.builder.id]
}

resource "aws_security_group" "builder" {
  name        = "edge-ai-builder"
  description = "Nothing comes in; sources are fetched over HTTP and HTTPS"
  vpc_id      = aws_vpc.builder.id
}

# Yocto fetches from hundreds of hosts, and some sources exist over HTTP only. Each
# download is compared with the recipe's checksum.
resource "aws_vpc_security_group_egress_rule" "fetch" {
  for_each          = { https = 443, http = 80 }
  security_group_id = aws_security_group.builder.id
  description       = "Sources over ${each.key}"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv4         = "0.0.0.0/0"
}

# Not run here: terraform itself and AWS (the files were parsed, and their names checked). A bucket and a machine for the
# server: terraform init && terraform apply -var domain=cogflare.example.org -var ssh_cidr=203.0.113.7/32
terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_ssm_parameter" "debian" {
  name = "/aws/service/debian/release/12/latest/arm64"
}

data "aws_vpc" "default" {
  default = true
}

resource "aws_s3_bucket" "files" {
  bucket_prefix = "cogflare-"
}

resource "aws_s3_bucket_public_access_block" "files" {
  bucket                  = aws_s3_bucket.files.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# What the server gives up itself within a day; docs/how-to/object-storage.md
resource "aws_s3_bucket_lifecycle_configuration" "files" {
  bucket = aws_s3_bucket.files.id

  rule {
    id     = "unfinished"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_iam_role" "server" {
  name_prefix = "cogflare-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

# No key is stored anywhere: the machine has the role.
resource "aws_iam_role_policy" "files" {
  role = aws_iam_role.server.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "s3:GetObject", "s3:PutObject", "s3:DeleteObject",
          "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload",
        ]
        Resource = "${aws_s3_bucket.files.arn}/*"
      },
      {
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
        Resource = aws_s3_bucket.files.arn
      },
    ]
  })
}

resource "aws_iam_instance_profile" "server" {
  name_prefix = "cogflare-"
  role        = aws_iam_role.server.name
}

resource "aws_security_group" "server" {
  name_prefix = "cogflare-"
  vpc_id      = data.aws_vpc.default.id

  dynamic "ingress" {
    for_each = { http = 80, https = 443 }
    content {
      description      = ingress.key
      from_port        = ingress.value
      to_port          = ingress.value
      protocol         = "tcp"
      cidr_blocks      = ["0.0.0.0/0"]
      ipv6_cidr_blocks = ["::/0"]
    }
  }

  ingress {
    description = "ssh"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = [var.ssh_cidr]
  }

  egress {
    from_port        = 0
    to_port          = 0
    protocol         = "-1"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_instance" "server" {
  ami                    = data.aws_ssm_parameter.debian.value
  instance_type          = var.instance_type
  key_name               = var.key_name
  iam_instance_profile   = aws_iam_instance_profile.server.name
  vpc_security_group_ids = [aws_security_group.server.id]

  user_data = templatefile("${path.module}/cloud-init.yaml", {
    domain = var.domain
    bucket = aws_s3_bucket.files.bucket
    region = var.region
    wheel  = var.wheel_url
  })

  root_block_device {
    volume_size = 20
    volume_type = "gp3"
    encrypted   = true
  }

  # Nothing gets the role's credentials without a session token, which a tricked fetch does not ask for.
  metadata_options {
    http_tokens = "required"
  }

  lifecycle {
    # A newer image of Debian does not replace the machine.
    ignore_changes = [ami, user_data]
  }
}

# The data outlive the machine.
resource "aws_ebs_volume" "data" {
  availability_zone = aws_instance.server.availability_zone
  size              = var.data_gb
  type              = "gp3"
  encrypted         = true

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.server.id
}

resource "aws_eip" "server" {
  instance = aws_instance.server.id
}
